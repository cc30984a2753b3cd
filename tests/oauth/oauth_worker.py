"""A process that refreshes a login again and again, until it is killed: HOME PROVIDER TOKEN_URL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from api_service.oauth.kinds import KINDS
from api_service.oauth.login_error import LoginError
from api_service.oauth.logins import Login, Logins
from api_service.oauth.profile_store import ProfileStore
from api_service.oauth.refresher import Refresher


async def main(home: str, provider: str, token_url: str) -> None:
    kind = KINDS[provider]
    refresher = Refresher({provider: token_url})
    environ = {"HOME": home}
    logins = Logins([provider], ProfileStore(Path(home) / "none"), refresher, environ)
    login = Login(kind, kind.default_path(environ))
    print("ready", flush=True)
    while True:
        try:
            credentials = await logins.current(login)
            await logins.renewed(login, credentials.fingerprint)
        except LoginError as error:
            print(error.fault, error, flush=True)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
