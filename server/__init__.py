"""The web application: HTTP, registry, publishing, identity, pages and the `chengtu` command."""

from providers.points.opening import register_point_rasters

# Whatever part of the server opens a coverage (the web application, a command, a job) may meet one that is made of points.
register_point_rasters()
