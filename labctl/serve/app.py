"""The page as an ASGI application: a list of runs, a page for each, and news of both; no request changes anything.

Browsers ask for news again and again, with the tags of what they have, and get the parts that are new: nobody who is
gone is remembered, and without a browser nothing is read (docs/decisions/166-a-page-asks-for-news.md).
"""

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from labctl.core.errors import LabError
from labctl.report.templates import packaged_text
from labctl.serve import run_parts
from labctl.serve.access import COOKIE, HEADERS, Access
from labctl.serve.live_run import LiveRun, tag_of, tagged
from labctl.serve.run_list import RunList

OPEN = 8
"""Runs that are kept in memory; of more, the one that was asked for longest ago is read again."""
_BODY = 4096
"""Bytes of the form with the token."""
_STATIC = {
    "report.css": ("labctl.report", "text/css"),
    "parts.js": ("labctl.report", "text/javascript"),
    "serve.css": ("labctl.serve", "text/css"),
    "serve.js": ("labctl.serve", "text/javascript"),
    "login.js": ("labctl.serve", "text/javascript"),
}
_WITHOUT_TOKEN = ("/login", "/static/")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Pages:
    """What requests are answered with."""

    def __init__(self, runs: RunList, access: Access) -> None:
        self._runs, self._access = runs, access
        self._open: OrderedDict[str, LiveRun] = OrderedDict()
        self._lock = threading.Lock()
        self._static = {
            name: (packaged_text(name, package).encode(), kind) for name, (package, kind) in _STATIC.items()
        }

    def routes(self) -> list[Route]:
        """Return the addresses of the page."""
        return [
            Route("/", self.home),
            Route("/news", self.home_news),
            Route("/runs/{run}", self.run),
            Route("/runs/{run}/news", self.run_news),
            Route("/runs/{run}/dies/{die}", self.die),
            Route("/static/{name}", self.static),
            Route("/login", self.login, methods=["GET", "POST"]),
        ]

    async def home(self, request: Request) -> Response:
        """The list of runs; of a folder that is a run itself, its page."""
        if self._runs.single:
            return RedirectResponse(f"runs/{quote(self._runs.single, safe='')}", status_code=303)
        parts = await run_in_threadpool(self._list)
        return _page("Runs", "", "news", parts, alive=True)

    async def home_news(self, request: Request) -> Response:
        """The list of runs, if it is another than the browser has."""
        parts = await run_in_threadpool(self._list)
        news = {name: part for name, part in parts.items() if request.query_params.get(name) != part[0]}
        return JSONResponse({"utc": time.time(), "alive": False, "parts": news})

    async def run(self, request: Request) -> Response:
        """The page of a run."""
        live = await run_in_threadpool(self._live, request)
        look = await run_in_threadpool(live.look)
        id_ = request.path_params["run"]
        return _page(
            id_, "../", f"{quote(id_, safe='')}/news", look.parts, alive=look.alive, back=not self._runs.single
        )

    async def run_news(self, request: Request) -> Response:
        """The parts of the page of a run that are others than the browser has."""
        live = await run_in_threadpool(self._live, request)
        look = await run_in_threadpool(live.look)
        return JSONResponse({"utc": time.time(), "alive": look.alive, "parts": look.news(request.query_params)})

    async def die(self, request: Request) -> Response:
        """What is known of one die, if it is another than the browser has."""
        live = await run_in_threadpool(self._live, request)
        html = await run_in_threadpool(live.die, request.path_params["die"])
        if html is None:
            raise HTTPException(404)
        tag = f'"{tag_of(html)}"'
        headers = {"ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)

    async def static(self, request: Request) -> Response:
        """Styles and scripts, which were read when the page was started."""
        try:
            content, kind = self._static[request.path_params["name"]]
        except KeyError:
            raise HTTPException(404) from None
        return Response(content, media_type=kind)

    async def login(self, request: Request) -> Response:
        """The form for the token, and what comes of it."""
        root = "../" * (request.url.path.count("/") - 1)
        if request.method != "POST":
            return HTMLResponse(run_parts.page("login", root=root, wrong=False))
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY:
                raise HTTPException(413)
        token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if not self._access.admits(token.strip()):
            return HTMLResponse(run_parts.page("login", root=root, wrong=True), status_code=403)
        answer = RedirectResponse("./", status_code=303)
        answer.set_cookie(COOKIE, self._access.pass_, httponly=True, samesite="strict")
        return answer

    def _list(self) -> dict[str, tuple[str, str]]:
        try:
            html = run_parts.runs(self._runs.runs())
        except LabError as error:
            html = run_parts.problem(error)
        return tagged({"runs": html})

    def _live(self, request: Request) -> LiveRun:
        """Return the run that an address names; only names of the list are known, and none is made into a path."""
        id_ = request.path_params["run"]
        with self._lock:
            try:
                folder = self._runs.folder(id_)
            except LabError:
                folder = None
            if folder is None:
                self._open.pop(id_, None)
                raise HTTPException(404)
            live = self._open.pop(id_) if id_ in self._open else LiveRun(folder)
            self._open[id_] = live
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
            return live


def _page(title: str, root: str, news: str, parts: Any, *, alive: bool, back: bool = True) -> Response:
    names = run_parts.NAMES if root else ("runs",)
    shown = [(name, *parts.get(name, ("", ""))) for name in names]
    html = run_parts.page(
        "run",
        title=title, root=root, news=news, parts=shown, alive=alive, back=back, utc=f"{time.time():.3f}",
        zone=time.strftime("UTC%z"),
    )  # fmt: skip
    return HTMLResponse(html)


class Door:
    """What every request goes through: the name that is asked for, the token, and the headers of the answer.

    The connection of somebody who is not let in is closed: there are places for few.
    """

    def __init__(self, app: Asgi, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            return

        answer = self._refusal(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                named += [(b"connection", b"close")] if answer is not None else []
                message["headers"] = [*message.get("headers", []), *named]
            await send(message)

        try:
            await (answer or self._app)(scope, receive, with_headers)
        except Exception:  # a bug of ours: the lines are for who started the page, and for nobody else
            traceback.print_exc()
            await PlainTextResponse("The page has an error; the terminal of 'labctl serve' shows it.", 500)(
                scope, receive, with_headers
            )

    def _refusal(self, scope: Message) -> Any:
        """Return the answer to a request that is not let in, None of any other."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._access.knows(headers["host"]):
            message = "This page is not known by that name. 'labctl serve --name NAME' makes a name known.\n"
            return PlainTextResponse(message, 421)
        path = scope["path"]
        if path.startswith(_WITHOUT_TOKEN) or self._access.is_let_in(
            headers.get("cookie", ""), headers.get("authorization", "")
        ):
            return None
        if scope["method"] != "GET" or path.endswith("/news") or "/dies/" in path:
            return PlainTextResponse("A token is needed.\n", 401)
        root = "../" * (path.count("/") - 1)
        return HTMLResponse(run_parts.page("login", root=root, wrong=False), 401)


def application(runs: RunList, access: Access) -> Asgi:
    """Return the page of `runs`."""
    app: Any = Starlette(routes=Pages(runs, access).routes())
    return Door(app, access)
