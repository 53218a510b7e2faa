"""How documents become durable and visible: prepared, recorded in the journal, applied to a generation."""
