"""The application's own answers alone: BentoML runs the process, and answers nothing of what it would answer by itself.

That is a description of a service without routes, files of its page, checks of health under several names, and a
redirect of every path with a slash too many to whatever host the caller named.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class OwnAnswers:
    """ASGI middleware that hands every request to the application, and to BentoML its start and its end.

    Args:
        app: all that comes behind.
        own: the application.
    """

    def __init__(self, app: ASGIApp, own: ASGIApp) -> None:
        self.app = app
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.app if scope["type"] == "lifespan" else self.own)(scope, receive, send)


class Heads:
    """ASGI middleware that answers HEAD wherever GET is answered: the same, of which the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        scope["method"] = "GET"

        async def send_head(message: Message) -> None:
            scope["method"] = "HEAD"  # which the server, whose scope it is, looks at as it sends
            await send(message)

        await self.app(scope, receive, send_head)
