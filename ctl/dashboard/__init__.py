"""`peerctl dashboard`: a page for the whole network, served to the operator's browser by their own process.

`network` makes of answers what the page shows, `forms` of what the page sends what peers are asked, `access`
says who may; all without I/O. `collector`, `actions` and `server` are the shells around them.
"""
