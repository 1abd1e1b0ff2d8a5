"""The rules as the settings have them."""

from spanmeter.pipeline.accounting import Rules
from spanmeter.settings import Estimates, ProviderNames, Settings
from spanmeter.usage.call import TokenClass
from spanmeter.usage.decision import DecisionRules
from spanmeter.usage.event import EventRules
from spanmeter.usage.recognition import Recogniser


def configured_recogniser(settings: Settings) -> Recogniser:
    return Recogniser(tenant_attributes=settings.tenant_attributes, dimensions=settings.dimensions)


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
