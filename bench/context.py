"""What every row gets: the running product, its reference database, the sizes, the progress bar."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from rich.progress import Progress
from websockets.asyncio.client import ClientConnection

from bench import product
from bench.figures import Figure, Series, Target
from bench.product import Agent, Product
from bench.raw_postgres import RawPostgres

Measure = Callable[[], Awaitable[float]]
"""Measures once; returns one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each row does; `--quick` and the tests do less."""

    rounds: int = 5
    seconds: float = 3.0
    """For rows that count what happens in a time."""
    requests: int = 300
    flushed: int = 20_000
    fan_agents: int = 200
    fan_each: int = 100
    first_rounds: int = 3
    submissions: int = 400
    fleet: int = 1000
    storms: int = 3
    idle_seconds: float = 60.0
    settle_seconds: float = 12.0
    """PostgreSQL's processes publish their counts after 10 s of rest at the latest."""
    backlog: int = 1_000_000
    backlog_drained: int = 2000
    backlog_rounds: int = 15

    def with_rounds(self, rounds: int) -> "Sizes":
        """Return the same sizes with another number of rounds; a sample of `backlog` is short, so it keeps its many."""
        return replace(self, rounds=rounds, first_rounds=rounds, storms=rounds)


QUICK = Sizes(
    rounds=2,
    seconds=0.5,
    requests=30,
    flushed=2000,
    fan_agents=20,
    first_rounds=1,
    submissions=50,
    fan_each=20,
    fleet=50,
    storms=1,
    idle_seconds=5.0,
    settle_seconds=2.0,
    backlog=20_000,
    backlog_drained=500,
    backlog_rounds=3,
)


@dataclass(slots=True, kw_only=True)
class Profile:
    """The processor time of the dispatcher in all rounds of a row, by place."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    commands: int = 0

    def __str__(self) -> str:
        places = (f"{place} {used / self.commands * 1e6:,.0f} µs" for place, used in self.seconds.items())
        cores = psutil.cpu_count() or 1
        most = cores * self.commands / sum(self.seconds.values())
        return (
            f"the dispatcher's processor time for a command: {', '.join(places)};"
            f" so at most {most:,.0f} a second on {cores} cores"
        )


@dataclass(slots=True, kw_only=True)
class Bench:
    """A run of some rows."""

    sizes: Sizes
    folder: Path
    product: Product
    raw: RawPostgres
    progress: Progress
    stack: contextlib.AsyncExitStack
    fleet: list[Agent] = field(default_factory=list[Agent])
    """Agents that exist for the rows with many agents."""
    sockets: list[ClientConnection] = field(default_factory=list[ClientConnection])
    """Their connections, while they are connected."""
    profiles: dict[str, "Profile"] = field(default_factory=dict[str, "Profile"])
    """Where each row that is profiled spent its processor time."""

    async def in_turns(self, row: str, measures: Mapping[str, Measure], rounds: int | None = None) -> list[Series]:
        """Measure all contenders in each round, each of them first in turn, so that a change of the machine meets all."""
        rounds = rounds or self.sizes.rounds
        names = list(measures)
        samples: dict[str, list[float]] = {name: [] for name in names}
        with self.bar(row, rounds * len(names)) as advance:
            for number in range(rounds):
                start = number % len(names)
                for name in names[start:] + names[:start]:
                    await self.product.until_at_rest()
                    samples[name].append(await measures[name]())
                    advance()
        return [Series(name=name, samples=tuple(samples[name])) for name in names]

    async def compare(
        self,
        row: str,
        what: str,
        measures: Mapping[str, Measure],
        *,
        against: str,
        target: Target,
        missing: Sequence[str] = (),
        rounds: int | None = None,
        unit: str = "commands/s",
    ) -> Figure:
        """Measure in turns; the first contender is the dispatcher, and `against` names the one of its target."""
        value, *references = await self.in_turns(row, measures, rounds)
        return Figure(
            row=row,
            what=what,
            unit=unit,
            value=value,
            target=target,
            against=against,
            references=tuple(references),
            missing=tuple(missing),
            notes=(str(self.profiles[row]),) if row in self.profiles else (),
        )

    @contextlib.contextmanager
    def profiled(self, row: str) -> Generator["Profile"]:
        """Add the processor time that the dispatcher uses inside of this to the row's profile; its user adds the commands."""
        profile = self.profiles.setdefault(row, Profile())
        before = self.product.processor_seconds()
        yield profile
        for place, seconds in self.product.processor_seconds().items():
            profile.seconds[place] = profile.seconds.get(place, 0.0) + seconds - before[place]

    @contextlib.contextmanager
    def bar(self, row: str, steps: int) -> Generator[Callable[[], None]]:
        """Show a progress bar; yields what advances it by a step."""
        task = self.progress.add_task(row, total=steps)
        yield lambda: self.progress.advance(task)

    def second_product(self, name: str) -> Product:
        """Run one more product until the end."""
        return self.stack.enter_context(product.running(self.folder / name))

    async def disconnect_fleet(self) -> None:
        """Close the connections of the fleet."""
        await asyncio.gather(*(socket.close() for socket in self.sockets), return_exceptions=True)
        self.sockets.clear()


def blocking(work: Callable[[], float]) -> Measure:
    """Make a measurement of a function that blocks; it runs in a thread."""

    async def measure() -> float:
        return await asyncio.to_thread(work)

    return measure
