"""The commands that train: train, sweep, fit."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pagbench.cli.options import RESULTS, Device, DeviceOption, OfflineOption, ResultsOption, terminal_width, warn_of
from pagbench.errors import TrainingError

if TYPE_CHECKING:
    from rich.progress import Progress

    from pagbench.training import Recipe
    from pagbench.training.components import Trial

_BenchmarkArgument = Annotated[str, typer.Argument(help="Benchmark whose training split is used.")]
_Family = Annotated[
    str,
    typer.Option(
        help="standard, gradient-norm, noise, smoothness, adversarial, adversarial-linf, smoothing or score-matching."
    ),
]
_Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training split.")]
_RecipeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Of the recipe: batch_size, optimiser (adamw, sgd), schedule (one-cycle, step, constant), learning_rate, "
        "weight_decay, ema, precision (float32, bfloat16), augmentation (none, crop-flip), clip. By default that of "
        "the benchmark's reference. May be repeated.",
    ),
]
_Architecture = Annotated[
    str | None, typer.Option(help="small-cnn, strided-cnn, small-resnet or mlp; the reference's by default.")
]
_Activation = Annotated[str | None, typer.Option(help="silu, relu, gelu or softplus; the reference's by default.")]
_Prefix = Annotated[str | None, typer.Option(help="First part of the ids; trained/<benchmark> by default.")]
_Half = Annotated[bool, typer.Option("--half", help="Round the weights to half precision, halving the file.")]
_Draws = Annotated[int, typer.Option(help="Monte Carlo draws of a smoothed network; of no use to other families.")]
_Output = Annotated[Path, typer.Option(help="Folder for cards and weights.")]


def train(
    benchmark: _BenchmarkArgument,
    family: _Family,
    strength: Annotated[float | None, typer.Option(help="In the family's unit; not for standard.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, shuffling and noise.")] = 0,
    architecture: _Architecture = None,
    activation: _Activation = None,
    epochs: _Epochs = None,
    recipe: _RecipeOption = None,
    prefix: _Prefix = None,
    half: _Half = False,
    draws: _Draws = 64,
    device: DeviceOption = Device.auto,
    output: _Output = Path("trained"),
    offline: OfflineOption = False,
) -> None:
    """Train a network of a family; writes weights and a card that `pagbench run` takes. Goes on where it was killed."""
    from pagbench import benchmarks, training

    definition = benchmarks.load(benchmark)
    plan = training.TrainingPlan(
        definition, family, strength, seed, architecture, activation,
        _recipe(training.default_recipe(definition), epochs, recipe), prefix, half, draws,
    )  # fmt: skip
    with _bar() as bar:
        path = training.train_model(plan, output=output, device=device.choose(), on_step=_on_step(bar, plan.name))
    typer.echo(f"card: {path}  (next: pagbench run {path} -b {benchmark})")


def sweep(
    benchmark: _BenchmarkArgument,
    family: _Family,
    strengths: Annotated[
        str | None, typer.Option(metavar="A:B:N", help="N strengths from A to B, evenly in the logarithm; or A,B,C.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Networks per strength, seeds 0 to K - 1.")] = 1,
    jobs: Annotated[int, typer.Option(help="Networks trained at a time.")] = 1,
    architecture: _Architecture = None,
    activation: _Activation = None,
    epochs: _Epochs = None,
    recipe: _RecipeOption = None,
    prefix: _Prefix = None,
    half: _Half = False,
    draws: _Draws = 64,
    device: DeviceOption = Device.auto,
    output: _Output = Path("trained"),
    results: ResultsOption = RESULTS,
    offline: OfflineOption = False,
) -> None:
    """Train a path of strengths and seeds, measure it, and show it. Goes on where it was killed."""
    from pagbench import benchmarks, data, training
    from pagbench.ranking import leaderboard, render
    from pagbench.running import runner
    from pagbench.studies import sweep as path

    definition = benchmarks.load(benchmark)
    used = _recipe(training.default_recipe(definition), epochs, recipe)
    chosen: tuple[float | None, ...] = (None,) if strengths is None else path.strengths(strengths)
    plans = [
        training.TrainingPlan(definition, family, strength, seed, architecture, activation, used, prefix, half, draws)
        for strength in chosen
        for seed in range(seeds)
    ]
    data.splits(definition)  # once and for all, if it is missing
    with _bar() as bar:
        trained = path.train_all(
            plans, output, jobs=jobs, device=device.choose().type, advance=_on_share(bar, len(plans))
        )
    if trained.cards:
        runner.run(trained.cards, benchmark=definition, device=device.value, results=results, progress=True)
        board = leaderboard(results, benchmark=definition, on_warning=warn_of)
        typer.echo(render.to_table(board, definition, terminal_width()), nl=False)
        typer.echo(f"cards: {output}  (next: pagbench figures -b {definition.label} -r {results})")
    if trained.failures:
        raise TrainingError("\n".join(trained.failures))


def fit(
    benchmark: _BenchmarkArgument,
    part: Annotated[str, typer.Argument(help="mixture, autoencoder or diffusion.")],
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    components: Annotated[int | None, typer.Option(min=1, help="Of a mixture: Gaussians of each class.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of a mixture: dimensions of each Gaussian.")] = None,
    directions: Annotated[
        int | None, typer.Option(min=1, help="Of a mixture: principal directions in which the Gaussians differ.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=8, help="Of a network: channels of the first layer.")] = None,
    epochs: _Epochs = None,
    recipe: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of a network's own recipe; keys as for train.")
    ] = None,
    half: _Half = False,
    device: DeviceOption = Device.auto,
    output: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("trained"),
    offline: OfflineOption = False,
) -> None:
    """Fit a part of a benchmark: mixture, autoencoder of its manifold, or diffusion model of its second target.

    The sizes of a mixture that are not given are chosen by the denoising error at images that are neither trained on
    nor measured.
    """
    from pagbench import benchmarks
    from pagbench.training import components as parts

    definition = benchmarks.load(benchmark)
    sizes = {"components": components, "rank": rank, "directions": directions}
    given = {name: size for name, size in sizes.items() if size is not None}
    others = {"width": width, "epochs": epochs, "recipe": recipe, "half": half or None}
    foreign = [name for name, value in others.items() if value is not None] if part == "mixture" else [*given]
    if foreign:
        raise TrainingError(f"--{foreign[0]} means nothing for {part!r}; leave it out")
    if part == "mixture":
        chosen = parts.choose_mixture(definition, given, seed=seed, on_trial=lambda trial: typer.echo(_trial(trial)))
        path, digest = parts.write_mixture(definition, chosen, output)
        typer.echo(f"chosen: {_trial(chosen)}")
    else:
        used = _recipe(parts.find(part).recipe, epochs, recipe)
        with _bar() as bar:
            path, digest = parts.fit(
                definition, part, output=output, seed=seed, width=width, recipe=used, half=half,
                device=device.choose(), on_step=_on_step(bar, part),
            )  # fmt: skip
    typer.echo(f"weights: {path}  (for a card: weights: {path.name}, weights_sha256: {digest})")


def _trial(trial: "Trial") -> str:
    """A mixture that was tried, in a line."""
    sizes = trial.recipe
    return (
        f"{sizes.components:>3} components of rank {sizes.rank:>2} in {sizes.directions:>3} directions: "
        f"held-out denoising error {trial.error:.3f}"
    )


def _recipe(default: "Recipe", epochs: int | None, given: list[str] | None) -> "Recipe":
    """The default recipe with what the user has set.

    Raises:
        TrainingError: an unknown key, or a value out of range.
    """
    from dataclasses import asdict

    from pydantic import TypeAdapter, ValidationError

    fields: dict[str, Any] = asdict(default)
    for item in given or []:
        key, _, value = item.partition("=")
        if key not in fields or not value:
            raise TrainingError(f"--recipe {item!r}; expected KEY=VALUE with one of the keys {', '.join(fields)}")
        fields[key] = value
    try:
        adapter: TypeAdapter[Recipe] = TypeAdapter(type(default))
        return adapter.validate_python(fields | ({} if epochs is None else {"epochs": epochs}))
    except ValidationError as error:
        first = error.errors()[0]
        raise TrainingError(f"recipe {first['loc'][0]}={first['input']}: {first['msg']}") from None


def _bar() -> "Progress":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("left:"), TimeRemainingColumn()
    )


def _on_step(bar: "Progress", name: str) -> Callable[[int, int, float], None]:
    """Moves a task of the bar to where the training is."""
    task = bar.add_task(name, total=None)
    return lambda done, total, loss: bar.update(
        task, completed=done, total=total, description=f"{name}, loss {loss:.3f}"
    )


def _on_share(bar: "Progress", count: int) -> Callable[[str, float], None]:
    """Moves one bar for all networks; each counts as one."""
    task = bar.add_task("training", total=count)
    shares: dict[str, float] = {}

    def receive(name: str, share: float) -> None:
        shares[name] = share
        done = sum(value == 1 for value in shares.values())
        bar.update(task, completed=sum(shares.values()), description=f"{name} ({done} of {count} trained)")

    return receive
