"""Attributes as they were set, where the SDK's limits let the application's exporters see less."""

from collections.abc import Collection, Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes

from spanmeter_instrumentation.complaints import complain


class WholeAttributes(BoundedAttributes):
    """Behaves as the SDK's, and remembers aside what that drops or cuts of the vocabulary's keys.

    The SDK drops the oldest attribute when there are more than OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: provider, model and
    tenant, which are set first, go before the messages that fill the span.
    """

    wanted: Collection[str]
    aside: dict[str, Any]

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            if self.maxlen is not None and len(self._dict) >= self.maxlen and key not in self._dict:
                self._put_aside(next(iter(self._dict), ""))
            self._note(key, value)
        except Exception as error:
            complain("an attribute was not remembered", error)
        super().__setitem__(key, value)

    def _set_items(self, attributes: Mapping[str, Any]) -> None:
        """The SDK's way to set several (since 1.40; before, one by one)."""
        try:
            if self.maxlen is not None and len(self._dict) + len(attributes) > self.maxlen:
                for key in self.wanted & self._dict.keys():
                    self._put_aside(key)
                self.aside.update({key: value for key, value in attributes.items() if key in self.wanted})
            else:
                for key, value in attributes.items():
                    self._note(key, value)
        except Exception as error:
            complain("an attribute was not remembered", error)
        super()._set_items(attributes)

    def _put_aside(self, key: str) -> None:
        if key in self.wanted:
            self.aside.setdefault(key, self._dict[key])

    def _note(self, key: str, value: Any) -> None:
        """A new value: aside where it may be cut, else what is aside is no longer true."""
        may_be_cut = self.max_value_len is not None and isinstance(value, str | list | tuple)
        if key in self.wanted and (may_be_cut or self.maxlen == 0):
            self.aside[key] = value
        elif self.aside:
            self.aside.pop(key, None)


def watch(attributes: object, given: Mapping[str, Any] | None, wanted: Collection[str]) -> None:
    """From now on `attributes` of a span that has just started remembers; `given` is what it was started with."""
    if type(attributes) is not BoundedAttributes or (attributes.maxlen is None and attributes.max_value_len is None):
        return
    attributes.__class__ = WholeAttributes
    assert isinstance(attributes, WholeAttributes)
    attributes.wanted = wanted
    attributes.aside = (
        {key: value for key, value in given.items() if key in wanted}
        if given and (attributes.max_value_len is not None or attributes.dropped)
        else {}
    )


def whole(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """All that was set, also what the limits dropped or cut."""
    if isinstance(attributes, BoundedAttributes):
        present: dict[str, Any] = dict(attributes.copy())
        return present | attributes.aside if isinstance(attributes, WholeAttributes) else present
    return attributes or {}
