"""A run made again from its record.

Owns: the way back from a record's spec to a RunSpec.
Must not know: what the new record is for.
"""

from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import Listener, run_traffic
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore
from lpbench.shape.catalogue import model_names
from lpbench.workload.catalogue import workload_names


def rerun(record: Record, listener: Listener) -> Record:
    """Run the experiment of `record` again and return the new record, which is stored nowhere.

    Raises:
        InputError: its spec lacks something, or its model or workload is not in the catalogues.
    """
    spec = record.spec
    again = RunSpec.from_record(spec)
    for key, known in (("model", model_names()), ("workload", workload_names())):
        if spec[key] not in known:
            msg = (
                f"the baseline's {key} {spec[key]!r} is not in the catalogue; run it yourself and "
                "give the record: lpbench check --baseline FILE RECORD"
            )
            raise InputError(msg)
    return run_traffic(again, lambda: RunStore(output=None, json=None), listener)
