"""Texts that no encoding takes, and what is stored in their place."""

from dataclasses import replace

from spanmeter.usage.call import SpanFacts


def is_encodable(facts: SpanFacts) -> bool:
    """JSON inside an attribute may hold half of a surrogate pair, where a text was cut in the middle of an emoji: no
    encoding takes that, and one such span would keep its whole request from the journal."""
    call = facts.call
    texts = [facts.scope, facts.service]
    if call is not None:
        texts += [call.operation, call.provider, call.request_model, call.response_model, call.response_id]
        texts += [call.problem, call.reason]
    for pair in (*facts.dimensions, *facts.hints):
        texts += pair
    text = "".join(texts)
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def mended_text(value: str) -> str:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mended(facts: SpanFacts) -> SpanFacts:
    """Half surrogates replaced, as the decoders do with invalid UTF-8."""

    def pairs(values: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((mended_text(name), mended_text(value)) for name, value in values)

    call = facts.call
    if call is not None:
        call = replace(
            call,
            operation=mended_text(call.operation),
            provider=mended_text(call.provider),
            request_model=mended_text(call.request_model),
            response_model=mended_text(call.response_model),
            response_id=mended_text(call.response_id),
            problem=mended_text(call.problem),
            reason=mended_text(call.reason),
        )
    return replace(
        facts,
        scope=mended_text(facts.scope),
        service=mended_text(facts.service),
        dimensions=pairs(facts.dimensions),
        hints=pairs(facts.hints),
        call=call,
    )
