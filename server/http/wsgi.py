"""The WSGI application of a worker process: `granian --interface wsgi server.http.wsgi:application`."""

import os

from server.http.starting import from_environment

application = from_environment(os.environ)
