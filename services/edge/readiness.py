"""The application's own ``/readyz``, in the place of BentoML's, which comes before all routes and has no body."""

from starlette.types import ASGIApp, Receive, Scope, Send

READYZ = "/readyz"


class OwnReadiness:
    """ASGI middleware that has the application answer whether it is ready.

    Args:
        app: all that comes behind.
        own: the application.
    """

    def __init__(self, app: ASGIApp, own: ASGIApp) -> None:
        self.app = app
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"] == READYZ
        await (self.own if ours else self.app)(scope, receive, send)
