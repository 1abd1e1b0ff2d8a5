"""The HTTP API of Konnect Metering & Billing and of OpenMeter: where events go, and what comes back."""
