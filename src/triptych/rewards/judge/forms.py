"""How a judge's reply is held to JSON: by the strictest form that the server takes."""

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from triptych.endpoint.failures import Remedy, RequestError
from triptych.endpoint.reply import Reply
from triptych.rewards.judge.rubrics import Rubric

_log = logging.getLogger(__name__)


class ReplyForm(StrEnum):
    """How a server is asked to hold its reply to JSON, the strictest first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class ReplyForms:
    """Finds the form that a server takes.

    Args:
        base_url: of the server, for the log.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._form = ReplyForm.JSON_SCHEMA
        self._form_is_known = False

    async def ask(
        self, request: Callable[[dict[str, Any]], Awaitable[Reply]], rubric: Rubric
    ) -> Reply:
        """The reply to a request, which is given the fields that ask for a form.

        A server that refuses the form is asked for the next looser one, which is remembered once it
        was accepted.

        Raises:
            RequestError: there is none.
        """
        if self._form_is_known:
            return await request(response_format(self._form, rubric))
        refused: RequestError | None = None
        for form in ReplyForm:
            try:
                reply = await request(response_format(form, rubric))
            except RequestError as error:
                if error.failure.remedy is not Remedy.NONE:
                    raise
                refused = refused or error
            else:
                self._settle(form)
                return reply
        assert refused is not None
        raise refused

    def _settle(self, form: ReplyForm) -> None:
        if not self._form_is_known and form is not ReplyForm.JSON_SCHEMA:
            _log.info("%s: refuses json_schema, takes %s", self._base_url, form)
        self._form, self._form_is_known = form, True


def response_format(form: ReplyForm, rubric: Rubric) -> dict[str, Any]:
    """The fields of a request that ask for a form."""
    match form:
        case ReplyForm.JSON_SCHEMA:
            schema = {"name": rubric.name, "strict": True, "schema": rubric.schema}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case ReplyForm.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case ReplyForm.TEXT:
            return {}
