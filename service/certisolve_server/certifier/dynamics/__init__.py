"""Maps that go on in time, as graphs: steps one after the other, and cascades of observers."""
