"""One file per kind of deliverable: `files(offer, engine)` returns texts by file name, none where it does not apply."""
