"""The authors' tools and the site's Sphinx extension."""
