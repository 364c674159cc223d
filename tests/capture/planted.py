"""Secrets of forty kinds and more, made up; assembled here so that no scanner of repositories takes this file for a leak."""

from __future__ import annotations

HEX = "0123456789abcdef" * 4
TEXT = "Ab3dE6gH9jK2mN5pQ8sT1vW4yZ7" * 3


def _key(kind: str) -> str:
    lines = [TEXT[:60]] * 3
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


PRIVATE_KEY = _key("RSA ")

#: Kind: the secret, and a name that it is given to. Where the name is "value" the form alone tells.
PLANTED: dict[str, tuple[str, str]] = {
    "aws id": ("AK" + "IA" + "ABCDEFGHIJKLMNOP", "value"),
    "aws secret": (TEXT[:20] + "/" + TEXT[:19], "aws_secret_access_key"),
    "github classic": ("gh" + "p_" + TEXT[:36], "value"),
    "github fine": ("github" + "_pat_" + TEXT[:60], "value"),
    "github app": ("gh" + "s_" + TEXT[:36], "value"),
    "gitlab": ("gl" + "pat-" + TEXT[:20], "value"),
    "atlassian": ("AT" + "ATT" + TEXT[:60], "value"),
    "hugging face": ("hf" + "_" + TEXT[:34], "value"),
    "replicate": ("r8" + "_" + TEXT[:37], "value"),
    "nvidia": ("nv" + "api-" + TEXT[:64], "value"),
    "groq": ("gs" + "k_" + TEXT[:52], "value"),
    "openai": ("sk" + "-proj-" + TEXT[:48], "value"),
    "anthropic": ("sk" + "-ant-api03-" + TEXT[:60], "value"),
    "wandb": (HEX[:40], "wandb_api_key"),
    "kaggle": (HEX[:32], "kaggle_api_key"),
    "clearml": (TEXT[:50], "clearml_api_secret_key"),
    "slack bot": ("xo" + "xb-" + "123456789012-" + TEXT[:24], "value"),
    "slack hook": ("https://hooks.slack" + ".com/services/T00000000/B00000000/" + TEXT[:24], "value"),
    "discord hook": ("https://discord" + ".com/api/webhooks/123456789012345678/" + TEXT[:60], "value"),
    "google key": ("AI" + "za" + TEXT[:35], "value"),
    "google oauth": ("ya" + "29." + TEXT[:60], "value"),
    "stripe": ("sk" + "_live_" + TEXT[:24], "value"),
    "square": ("sq0" + "csp-" + TEXT[:43], "value"),
    "json web token": ("ey" + "J" + TEXT[:20] + ".ey" + "J" + TEXT[:40] + "." + TEXT[:43], "value"),
    "pypi": ("py" + "pi-" + TEXT[:70], "value"),
    "npm": ("np" + "m_" + TEXT[:36], "value"),
    "rubygems": ("ruby" + "gems_" + HEX[:48], "value"),
    "docker": ("dckr" + "_pat_" + TEXT[:27], "value"),
    "digital ocean": ("do" + "p_v1_" + HEX[:64], "value"),
    "sendgrid": ("S" + "G." + TEXT[:22] + "." + TEXT[:43], "value"),
    "twilio": ("S" + "K" + HEX[:32], "value"),
    "mailgun": ("ke" + "y-" + HEX[:32], "value"),
    "databricks": ("da" + "pi" + HEX[:32], "value"),
    "vault": ("hv" + "s." + TEXT[:24], "value"),
    "telegram": ("123456789:" + "AA" + TEXT[:33], "value"),
    "shopify": ("shp" + "at_" + HEX[:32], "value"),
    "grafana": ("gl" + "sa_" + TEXT[:32] + "_abcdef12", "value"),
    "linear": ("lin" + "_api_" + TEXT[:40], "value"),
    "postman": ("PM" + "AK-" + HEX[:24] + "-" + HEX[:34], "value"),
    "pulumi": ("pu" + "l-" + HEX[:40], "value"),
    "age": ("AGE-SECRET" + "-KEY-1" + "ABCDEFGHIJ" * 6, "value"),
    "azure storage": (TEXT[:40] + "+/" + TEXT[:42] + "==", "account_key"),
    "password": ("correct-horse-battery", "password"),
    "database password": ("tr0ub4dor", "DB_PASSWORD"),
    "client secret": (TEXT[:32], "client_secret"),
    "auth token": (TEXT[:32], "auth_token"),
    "camel case": (TEXT[:32], "clientSecret"),
}

#: Texts with a secret inside, and the secret.
EMBEDDED: dict[str, tuple[str, str]] = {
    "url": ("postgresql://ada:s3cr3t-w0rd@db.example.org/x", "s3cr3t-w0rd"),
    "token url": (f"https://{TEXT[:30]}@host/x.git", TEXT[:30]),
    "signed url": (f"https://a.blob.core.example.net/c/b?sv=1&sig={TEXT[:40]}&se=2", TEXT[:40]),
    "query": (f"https://host/api?access_token={TEXT[:20]}", TEXT[:20]),
    "header": (f'headers = {{"Authorization": "Bearer {TEXT[:30]}"}}', TEXT[:30]),
    "connection string": (f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={TEXT[:60]}==;Y=1", TEXT[:60]),
    "private key": (PRIVATE_KEY, TEXT[:60]),
}
