"""An application on uvicorn alone that reads a body and answers with a constant: what HTTP costs in Python here."""

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/")
async def nothing(request: Request) -> Response:
    """Read the body and answer."""
    await request.body()
    return Response(b'{"items":[]}', media_type="application/json")
