"""The rules as the settings have them."""

from spanmeter.custom_dialects import CustomDialect
from spanmeter.pipeline.accounting import Rules
from spanmeter.settings import Estimates, ProviderNames, Settings
from spanmeter.usage.call import Role, TokenClass
from spanmeter.usage.decision import DecisionRules
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.custom import CallNames, DialectSpec, custom_dialect
from spanmeter.usage.dialects.otel_genai import CountNames
from spanmeter.usage.event import EventRules
from spanmeter.usage.recognition import Recogniser


def configured_recogniser(settings: Settings) -> Recogniser:
    """Custom dialects come first: who describes a span knows better than any rule of ours."""
    described = settings.dialect_file.dialects if settings.dialect_file else ()
    return Recogniser(
        tenant_attributes=settings.tenant_attributes,
        dimensions=settings.dimensions,
        dialects=(*(custom_dialect(_spec(one)) for one in described), *DIALECTS),
    )


def configured_rules(settings: Settings) -> Rules:
    names = settings.type_names
    return Rules(
        events=EventRules(
            event_type=settings.event_type,
            source=settings.event_source,
            classes=tuple(token_class for token_class in TokenClass if token_class.value in settings.token_classes),
            type_names={TokenClass.INPUT: names[0], TokenClass.OUTPUT: names[1]} if names else {},
            konnect_provider_names=settings.provider_names is ProviderNames.KONNECT,
        ),
        decisions=DecisionRules(
            default_subject=settings.default_subject or "", bill_estimates=settings.estimates is Estimates.BILL
        ),
    )


def _spec(described: CustomDialect) -> DialectSpec:
    counts, kind = described.counts, described.kind
    roles = (
        {
            value: role
            for role, values in ((Role.CALL, kind.call), (Role.AGGREGATE, kind.aggregate), (Role.IGNORED, kind.ignored))
            for value in values
        }
        if kind
        else {}
    )
    return DialectSpec(
        name=described.name,
        scope=described.scope,
        span=described.span,
        where=described.where,
        counts=CountNames(
            input=counts.input,
            output=counts.output,
            cache_read=counts.cache_read,
            cache_write=counts.cache_write,
            reasoning=counts.reasoning,
            total=counts.total,
        ),
        cache_included=counts.cache_included,
        reasoning_included=counts.reasoning_included,
        estimated=counts.estimated,
        call=CallNames(**dict(described.call)),
        role_key=kind.attribute if kind else "",
        roles=roles,
        sole_source=kind.sole_source if kind else False,
    )
