"""The HTTP edge: routes, request and response bodies, problems, cursors, pages."""
