"""The headings under which `--help` lists a command's options."""

from typing import Any

import typer
from typer.core import TyperCommand

HEADINGS = {
    "What to explain": "clips clip results model network input_list target sampling stride start end custom_ops",
    "What is written": "out format style force dry_run json jsonl",
    "Method": "method methods preset layer backend area areas target_score base constraint continuity cells iterations queries estimator seed",
    "Time importance": "alpha windows tis_aggregate window_base second_window_base",
    "Measures": "signature truth seeds steps randomise",
    "How the network is fed and read": "layout frames size mean std scale color resize input output output_name aggregate labels",
    "Speed and memory": "device batch_size memory reuse precision",
    "Many clips": "shard workers engine address timeout isolate fail_fast max_failures",
    "A network behind a server": "request_timeout retries rate",
    "Talk": "quiet verbose help",
}


class Grouped(TyperCommand):
    """A command that lists its options by `HEADINGS`, which have to name each of them."""

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        told = {
            parameter.name: parameter.get_help_record(ctx) for parameter in self.get_params(ctx)
        }
        for heading, names in HEADINGS.items():
            rows = [row for name in names.split() if (row := told.get(name)) is not None]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
