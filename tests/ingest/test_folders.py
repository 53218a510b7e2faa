from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.errors import InvalidSource
from outcrop.ingest import BadRecord, Record, open_source, streams
from outcrop.model import Document


def tree(top: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return top


def documents(path: Path) -> dict[str, Document]:
    found = list(open_source(path).records())
    assert all(isinstance(item, Record) for item in found), [item.error for item in found if isinstance(item, BadRecord)]
    return {item.origin: item.document for item in found if isinstance(item, Record)}


def test_a_folder_gives_one_document_a_file_in_order_and_leaves_the_rest_out(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "b.txt": "Plain.",
            "a/z.MD": "no heading",
            "a/b/deep.markdown": "# Deep\ntext",
            ".hidden.md": "x",
            ".git/x.md": "x",
            "image.png": b"\x89PNG",
            "c.htm": "<title>Page</title><p>Hello",
        },
    )
    source = open_source(tmp_path)
    found = list(source.records())
    assert [item.origin for item in found] == ["a/b/deep.markdown", "a/z.MD", "b.txt", "c.htm"]
    assert [item.document for item in found if isinstance(item, Record)] == [
        Document(
            id="a/b/deep.markdown", title="Deep", text="# Deep\ntext", source="a/b/deep.markdown", metadata={"format": "markdown"}
        ),
        Document(id="a/z.MD", title="z", text="no heading", source="a/z.MD", metadata={"format": "markdown"}),
        Document(id="b.txt", title="b", text="Plain.", source="b.txt", metadata={"format": "text"}),
        Document(id="c.htm", title="Page", text="Hello", source="c.htm", metadata={"format": "html"}),
    ]
    assert (source.document_count, source.size_bytes) == (4, found[-1].position_bytes)
    assert "1 of other kinds are left out" in source.description


def test_symbolic_links_are_followed_but_loops_are_not(tmp_path: Path) -> None:
    tree(tmp_path / "outside", {"linked.md": "linked"})
    top = tree(tmp_path / "top", {"sub/one.md": "one"})
    try:
        (top / "sub" / "loop").symlink_to(top, target_is_directory=True)
        (top / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
        (top / "nowhere.md").symlink_to(tmp_path / "missing.md")
    except OSError:
        pytest.skip("this file system has no symbolic links")
    found = list(open_source(top).records())
    assert [item.origin for item in found if isinstance(item, Record)] == ["out/linked.md", "sub/one.md"]
    assert [str(item.error) for item in found if isinstance(item, BadRecord)] == ["nowhere.md: the symbolic link leads nowhere"]


def test_a_folder_with_nothing_to_read_says_what_it_found(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="holds no files"):
        open_source(tmp_path)
    tree(tmp_path, {"a.pdf": "x", "b.parquet": "x", ".secret.md": "x"})
    with pytest.raises(InvalidSource, match=r"found \.parquet, \.pdf; wanted: \.md.*given by its own path"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nnot \xe9 fine", "line 2 is not valid UTF-8"),
        (b"fine\nfine\na\x00b", "line 3 holds a NUL byte"),
        (b"\xff\xfea", "line 1 is not valid UTF-16"),
    ],
)
def test_a_file_that_is_no_text_is_a_bad_record_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    tree(tmp_path, {"bad.txt": content, "good.txt": "ok"})
    bad, good = open_source(tmp_path).records()
    assert isinstance(good, Record)
    assert isinstance(bad, BadRecord)
    assert str(bad.error).startswith("bad.txt: ")
    assert message in str(bad.error)


def test_a_file_over_the_limit_is_a_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"large.txt": "x" * 101, "small.txt": "x" * 100})
    monkeypatch.setattr(streams.ByteFile.read, "__defaults__", (100,))
    large, small = open_source(tmp_path).records()
    assert isinstance(small, Record)
    assert isinstance(large, BadRecord)
    assert "larger than" in str(large.error)
    assert small.position_bytes == 201


def test_text_is_read_by_its_byte_order_mark(tmp_path: Path) -> None:
    tree(tmp_path, {"a.txt": b"\xef\xbb\xbfslate", "b.txt": "schiste é".encode("utf-16")})
    assert [document.text for document in documents(tmp_path).values()] == ["slate", "schiste é"]


def test_a_single_file_is_named_by_its_name(tmp_path: Path) -> None:
    path = tree(tmp_path, {"docs/Install.md": "x\n\n# Install it\n\ny"}) / "docs" / "Install.md"
    assert documents(path) == {
        "Install.md": Document(
            id="Install.md", title="Install it", text="x\n\n# Install it\n\ny", source="Install.md", metadata={"format": "markdown"}
        )
    }


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("---\ntitle: 'From: front'\ntags: [a]\n---\n# Heading\nx", "From: front", "# Heading\nx"),
        ('+++\ntitle = "Toml"\n+++\nx', "Toml", "x"),
        (
            "---\nlayout: page\n---\n## Two\n# One `code` [link](there) #\nx",
            "One code link",
            "## Two\n# One `code` [link](there) #\nx",
        ),
        ("```\n# no heading\n```\nTitle\n=====\n", "Title", "```\n# no heading\n```\nTitle\n=====\n"),
        ("---\nnever closed\n", "page", "---\nnever closed\n"),
        ("", "page", ""),
    ],
)
def test_a_markdown_title_is_the_front_matters_or_the_first_headings_or_the_stem(
    tmp_path: Path, content: str, title: str, text: str
) -> None:
    (document,) = documents(tree(tmp_path, {"page.md": content})).values()
    assert (document.title, document.text) == (title, text)


def html(tmp_path: Path, content: str | bytes) -> Document:
    pytest.importorskip("selectolax")
    (document,) = documents(tree(tmp_path, {"page.html": content})).values()
    return document


def test_html_becomes_text_with_markdown_headings_lists_tables_and_code(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title> My
      page </title><style>p {}</style><script>var a = "<p>no</p>";</script></head><body>
      <nav><a href="/">Home</a></nav><noscript>no</noscript><!-- no -->
      <h1>Install <em>it</em></h1><p>First&nbsp;line,<br>second <b>bo</b>ld &amp; &lt;more&gt;.</p>
      <h3>On Linux</h3><div>Run<pre><code># as root
  make   install
</code></pre>then</div><ul><li>one</li><li>two <p>inner</p></li></ul>
      <table><tr><th>Name</th><th>Size</th></tr><tr><td>a</td><td>1</td></tr></table><p hidden>no</p>tail</body></html>"""
    document = html(tmp_path, page)
    assert document.title == "My page"
    assert document.text.splitlines() == [
        "# Install it",
        "",
        "First line,",
        "second bold & <more>.",
        "",
        "### On Linux",
        "",
        "Run",
        "",
        "```",
        "# as root",
        "  make   install",
        "```",
        "",
        "then",
        "",
        "- one",
        "- two",
        "",
        "inner",
        "",
        "Name | Size",
        "a | 1",
        "",
        "tail",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "<meta charset='utf-8'><p>Gesteinskörnung €".encode(),
        "<p>Gesteinskörnung €".encode(),
        b"\xef\xbb\xbf<meta charset=latin1>" + "<p>Gesteinskörnung €".encode(),
        '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><p>Gesteinskörnung €'.encode("windows-1252"),
        "<p>Gesteinskörnung €".encode("windows-1252"),
        "<meta charset=iso-8859-15><p>Gesteinskörnung €".encode("iso-8859-15"),
        b"\xff\xfe" + "<p>Gesteinskörnung €".encode("utf-16-le"),
        "<meta charset=no-such-thing><p>Gesteinskörnung €".encode(),
    ],
)
def test_html_is_decoded_as_a_browser_does(tmp_path: Path, content: bytes) -> None:
    assert html(tmp_path, content).text == "Gesteinskörnung €"


def test_a_page_without_title_takes_its_first_heading_or_its_name(tmp_path: Path) -> None:
    assert html(tmp_path / "a", "<h2>x</h2><h1>Slate</h1>").title == "Slate"
    assert html(tmp_path / "b", "<p>x").title == "page"
    assert html(tmp_path / "c", "").text == ""


def test_a_page_nested_deeper_than_python_recurses_is_read(tmp_path: Path) -> None:
    text = html(tmp_path, "<div>" * 5_000 + "deep" + "</div>" * 5_000).text
    assert "deep" in text
