"""stub"""


def run_demo(keep: str | None) -> None: ...
