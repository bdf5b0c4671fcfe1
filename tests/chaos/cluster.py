"""Three nodes, the database that they share, and the networks between them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.chaos.database import Server
from tests.chaos.history import Fault
from tests.chaos.network import Link
from tests.chaos.nodes import Exit, Node
from tests.chaos.plan import NODES, Mode

__all__ = ["TOKEN", "Cluster", "Settings", "running_cluster"]

TOKEN = "token-of-the-chaos-campaign-0123456789"

STANDBY = "standby"

RESTART_SECONDS = 0.5
"""How long after its end a node that has failed is started again."""

BEHIND = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"


@dataclass(frozen=True)
class Settings:
    """How the nodes are started. `template` are the files of a new database; `plant` is a bug."""

    folder: Path
    binaries: Path
    template: Path
    mode: Mode = "single"
    patience: float = 30
    drain: float = 0
    max_running: int = 5
    grace: float = 1
    names: tuple[str, ...] = NODES
    plant: str | None = None


class Cluster:
    """Use `running_cluster`. Each change notes a fault with its times."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        self.primary = Server(settings.binaries, settings.folder / "primary")
        self.standby = Server(settings.binaries, settings.folder / "standby")
        self.links: dict[str, Link] = {}
        self.replication = Link(0)
        self.nodes: dict[str, Node] = {}
        self.faults: list[Fault] = []
        self.exits: list[Exit] = []
        self.lagging = False
        self._held_down: set[str] = set()
        # One restart of a node at a time.
        self._restarts = {name: trio.Lock() for name in settings.names}
        # One fault of the database at a time: it can't be stopped while it starts.
        self._database = trio.Lock()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start the database, and all nodes at once."""
        settings = self.settings
        self.primary.copy(settings.template)
        await self.primary.start()
        self.replication.target = self.primary.port
        await nursery.start(self.replication.run)
        if settings.mode != "single":
            await self.standby.follow(self.replication.port, name=STANDBY)
        if settings.mode == "sync":
            await self.primary.set("synchronous_standby_names", STANDBY)
        for name in settings.names:
            link = await self.open_link(nursery, name)
            options = (
                *("--store", Server.url_by(link.port), "--node", name),
                *("--drain", str(settings.drain), "--grace", str(settings.grace)),
                *("--store-patience", str(settings.patience)),
                *("--max-running", str(settings.max_running)),
            )
            variables = {"TRIO_LOGS_TOKEN": TOKEN}
            self.nodes[name] = Node(name, settings.folder, options, variables, settings.plant)
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            await node.ready()
            if not node.is_running:
                raise RuntimeError(node.log.read_text()[-3000:])
        nursery.start_soon(self._supervise)

    async def open_link(self, nursery: trio.Nursery, name: str) -> Link:
        """A port of its own that leads to the database."""
        link = self.links[name] = Link(self.primary.port)
        await nursery.start(link.run)
        return link

    async def caught_up(self) -> None:
        """Wait until the standby has all that the primary has."""
        while await self.primary.query(BEHIND) != [(1,)]:
            await trio.sleep(0.02)

    async def _supervise(self) -> None:
        """Start a node again that has ended, as systemd would."""
        due = dict.fromkeys(self.nodes, 0.0)
        while True:
            for name, node in self.nodes.items():
                if (ended := node.reap(self.clock())) is not None:
                    self.exits.append(ended)
                    self.note(ended.at, f"exit of {name}", name, more=1.0, down=True)
                    due[name] = ended.at if ended.asked else ended.at + RESTART_SECONDS
                if (
                    name not in self._held_down
                    and not node.is_running
                    and self.clock() >= due[name]
                ):
                    node.start()
            await trio.sleep(0.05)

    def note(
        self,
        at: float,
        name: str,
        node: str | None = None,
        *,
        more: float = 0,
        away: bool = False,
        down: bool = False,
    ) -> None:
        """A fault from `at` until now, or a little longer."""
        nodes = self.settings.names if node is None else (node,)
        self.faults.append(Fault(at, self.clock() + more, name, nodes, away, down))

    async def kill(self, name: str, seconds: float) -> None:
        """`kill -9`; the node is started again after so many seconds."""
        await self._down(name, seconds, self.nodes[name].kill, "kill")

    async def stop(self, name: str, seconds: float) -> None:
        """SIGTERM; the node is started again so many seconds after its end."""
        await self._down(name, seconds, self.nodes[name].terminate, "stop")

    async def _down(self, name: str, seconds: float, end: Callable[[], None], fault: str) -> None:
        async with self._restarts[name]:
            self._held_down.add(name)
            at = self.clock()
            node = self.nodes[name]
            try:
                end()
                node.resume()
                await self._ended(node)
                await trio.sleep(seconds)
            finally:
                self._held_down.discard(name)
                self.note(at, fault, name, more=1, down=True)

    async def _ended(self, node: Node) -> None:
        while node.is_running:
            await trio.sleep(0.01)

    async def rolling(self, pause: float = 0) -> None:
        """Restart each node, one after the other, by SIGTERM; `pause` seconds after the one before
        has become ready."""
        for name in self.settings.names:
            await self.stop(name, 0)
            while not self.nodes[name].is_running:
                await trio.sleep(0.02)
            await self.nodes[name].ready()
            await trio.sleep(pause)

    async def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        at, node = self.clock(), self.nodes[name]
        node.pause()
        try:
            await trio.sleep(seconds)
        finally:
            node.resume()
            self.note(at, "pause", name, down=seconds > 3)

    async def restart_database(self) -> None:
        """As `pg_ctl restart -m immediate`."""
        await self.database_down(0)

    async def database_down(self, seconds: float) -> None:
        """An immediate stop, and a start after so many seconds."""
        async with self._database:
            server, at = self.primary, self.clock()
            with trio.CancelScope(shield=True):
                await server.stop()
            try:
                await trio.sleep(seconds)
            finally:
                with trio.CancelScope(shield=True):
                    await server.start()
                self.note(at, "database down", away=True, more=1)

    async def pause_database(self, seconds: float) -> None:
        """SIGSTOP to all of the server."""
        async with self._database:
            server, at = self.primary, self.clock()
            server.pause()
            try:
                await trio.sleep(seconds)
            finally:
                server.resume()
                self.note(at, "database paused", away=True)

    def _links(self, name: str | None) -> list[Link]:
        return list(self.links.values()) if name is None else [self.links[name]]

    async def cut(self, name: str | None, seconds: float = 0) -> None:
        """Reset the connections of a node, or of all; refuse new ones for so many seconds."""
        at = self.clock()
        for link in self._links(name):
            link.cut(refuse=seconds > 0)
        await self._heal(at, "cut", name, seconds)

    async def black_hole(self, name: str | None, seconds: float) -> None:
        """Nothing arrives for so many seconds."""
        at = self.clock()
        for link in self._links(name):
            link.swallow()
        await self._heal(at, "black hole", name, seconds)

    async def delay(self, name: str | None, seconds: float, delay: float) -> None:
        """Each piece comes so much later, in seconds."""
        at = self.clock()
        for link in self._links(name):
            link.delay = delay
        await self._heal(at, "delay", name, seconds, away=False)

    async def _heal(
        self, at: float, fault: str, name: str | None, seconds: float, *, away: bool = True
    ) -> None:
        try:
            await trio.sleep(seconds)
        finally:
            for link in self._links(name):
                link.heal()
            self.note(at, fault, name, away=away, more=1)

    async def fail_over(self, seconds: float) -> None:
        """The primary dies, and the standby takes its place. An asynchronous one lacks what was
        written in the last `seconds`."""
        async with self._database:
            at, old = self.clock(), self.primary
            if self.settings.mode == "async":
                self.replication.swallow()
                await trio.sleep(seconds)
                self.lagging = True
            # The end of a run must not leave nodes without a database.
            with trio.CancelScope(shield=True):
                # Clients of the old one see their connections cut.
                await old.stop()
                self.replication.cut(refuse=True)
                await self.standby.promote()
                self.primary, self.standby = self.standby, old
                for link in self.links.values():
                    link.target = self.primary.port
                    link.cut()
                self.note(at, "failover", away=True, more=1)

    def heal(self) -> None:
        """All networks pass everything on, and all processes run."""
        for link in self.links.values():
            link.heal()
        for node in self.nodes.values():
            node.resume()
        self.primary.resume()

    def close(self) -> None:
        """End every process."""
        for node in self.nodes.values():
            node.close()
        self.primary.kill()
        self.standby.kill()


@asynccontextmanager
async def running_cluster(settings: Settings, clock: Callable[[], float]) -> AsyncIterator[Cluster]:
    """Nodes that listen; all processes have ended on exit, and the database's files are gone."""
    cluster = Cluster(settings, clock)
    try:
        async with trio.open_nursery() as nursery:
            await cluster.start(nursery)
            yield cluster
            nursery.cancel_scope.cancel()
    finally:
        cluster.close()
        for name in ("primary", "standby"):
            shutil.rmtree(settings.folder / name, ignore_errors=True)
