"""A form whose change did not go: shown again, with what was wrong beside the field."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from services.console.forms import Form
from services.console.problems import Problem


async def again(problem: Problem, form: Form, page: Callable[[Form, int], Awaitable[Response]]) -> Response:
    """The page of the form once more, which `page` makes."""
    response = await page(form.wrong(problem.param, problem.detail), 422 if problem.status == 400 else problem.status)
    response.headers.update(problem.headers)
    return response
