"""Did the model look and listen? The same benchmark under altered conditions, with intervals."""

from triptych.evaluation.audit.conditions import Condition, Withhold
from triptych.evaluation.audit.observations import Observations
from triptych.evaluation.audit.report import AuditReport, item_records, make_report, report_to_json
from triptych.evaluation.audit.run import AuditPlan, run_audit
from triptych.evaluation.audit.trials import check_read_in_turns
from triptych.evaluation.audit.verdicts import verdicts

__all__ = [
    "AuditPlan",
    "AuditReport",
    "Condition",
    "Observations",
    "Withhold",
    "check_read_in_turns",
    "item_records",
    "make_report",
    "report_to_json",
    "run_audit",
    "verdicts",
]
