// Finds the point nearest to a place, without looking at all of them.

const CELLS = 160;

/** `x` and `y` lie about within [-1, 1]. Gives a function from a place and a radius to the nearest point's place in the arrays. */
export function grid(x, y) {
  const cell = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));
  const starts = new Uint32Array(CELLS * CELLS + 1);
  for (let one = 0; one < x.length; one += 1) starts[cell(y[one]) * CELLS + cell(x[one]) + 1] += 1;
  for (let place = 1; place < starts.length; place += 1) starts[place] += starts[place - 1];
  const order = new Uint32Array(x.length);
  const filled = starts.slice();
  for (let one = 0; one < x.length; one += 1) order[filled[cell(y[one]) * CELLS + cell(x[one])]++] = one;

  return function nearest(atX, atY, radius, isShown = () => true) {
    let best = -1;
    let least = radius * radius;
    for (let row = cell(atY - radius); row <= cell(atY + radius); row += 1) {
      const from = starts[row * CELLS + cell(atX - radius)];
      const to = starts[row * CELLS + cell(atX + radius) + 1];
      for (let place = from; place < to; place += 1) {
        const one = order[place];
        const far = (x[one] - atX) ** 2 + (y[one] - atY) ** 2;
        if (far < least && isShown(one)) [best, least] = [one, far];
      }
    }
    return best;
  };
}
