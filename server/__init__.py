"""The web application: HTTP, registry, publishing, identity, pages and the `chengtu` command."""
