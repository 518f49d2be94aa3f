"""`make demo`: Temas at work on the purchase history of real people, and on one visitor's whole story.

Brings the stack up, tells it everything by HTTP, and shows what it makes of it. Every figure that is printed comes
from an answer of the run that prints it. The stack stays up.
"""

from __future__ import annotations

import asyncio
import sys

from deploy.demo import history, story, tables, value
from deploy.demo.client import Addresses, Temas
from deploy.demo.errors import DemoFailed
from deploy.demo.screen import Screen
from deploy.demo.stack import bring_up
from deploy.local.errors import Refused


async def demo(screen: Screen) -> None:
    """From nothing to the addresses to look at. Raises DemoFailed, Refused."""
    addresses = Addresses.of(bring_up())
    async with Temas.open(addresses) as temas:
        await history.tell(temas, screen)
        await value.tell(temas, screen)
        await story.tell(temas, screen)
    screen.show(tables.addresses(addresses.urls))
    screen.say("The stack stays up. `make down` stops it, `make demo` tells the story again with another visitor.")


def main() -> int:
    """The exit code: 1 where the demo could not be told to its end, with the reason in one sentence."""
    screen = Screen()
    try:
        asyncio.run(demo(screen))
    except (DemoFailed, Refused) as error:
        screen.fail(str(error))
        return 1
    except KeyboardInterrupt:
        screen.fail("Stopped. The stack stays up: `make down` stops it.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
