"""Services that break the promise on purpose: the negative controls. A checker that does not catch each of them is worthless."""

from collections.abc import Callable, Mapping

from harness.poison import die_of_poison

MUTANT = "MUTANT"
"""The environment variable that names one."""

MUTANTS: Mapping[str, Callable[[], None]] = {
    "poison": die_of_poison,
}
