"""What the pages of `peerd` and `peerctl dashboard` have in common: files to serve, the headers that confine
them in a browser, and which Host a request may name."""

from peerd.web.assets import Asset, load
from peerd.web.hosts import is_loopback, name_of, names_no_domain
from peerd.web.policy import PAGE_HEADERS

__all__ = ["PAGE_HEADERS", "Asset", "is_loopback", "load", "name_of", "names_no_domain"]
