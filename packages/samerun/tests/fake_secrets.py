"""Made-up secrets of well-known forms. They are put together here, so that no file holds one."""

import base64
import hashlib


def noise(length: int) -> str:
    """Return letters and digits that look random and are always the same."""
    digest = hashlib.shake_256(b"not a secret").digest(length)
    text = base64.b64encode(digest).decode().replace("+", "a").replace("/", "B").replace("=", "")
    return f"A1b{text}"[:length]


def hexadecimal(length: int) -> str:
    return hashlib.shake_256(b"no secret either").hexdigest(length)[:length]


FAKE = {
    "AWS": "AK" + "IA" + noise(40).upper()[:16],
    "GitHub": "gh" + "p_" + noise(36),
    "GitHub, fine-grained": "github" + "_pat_" + noise(60),
    "GitLab": "gl" + "pat-" + noise(20),
    "Hugging Face": "h" + "f_" + noise(34),
    "OpenAI": "s" + "k-proj-" + noise(48),
    "Anthropic": "s" + "k-ant-api03-" + noise(60),
    "Slack": "xo" + "xb-" + noise(30),
    "Slack webhook": "https://hooks.slack" + ".com/services/T0AB/B0CD/" + noise(24),
    "Google": "AI" + "za" + noise(35),
    "Stripe": "s" + "k_live_" + noise(24),
    "PyPI": "py" + "pi-AgEIcHlwaS5vcmc" + noise(70),
    "npm": "np" + "m_" + noise(36),
    "Databricks": "da" + "pi" + hexadecimal(32),
    "Telegram": "123456789" + ":AA" + noise(33),
    "JSON web token": ".".join(["ey" + "J" + noise(20), "ey" + "J" + noise(30), noise(40)]),
    "Azure": "AccountKey=" + noise(64),
    "signed address": "https://store.test/x?sv=1&sig=" + noise(44),
    "private key": "-----BEGIN OPENSSH PRIVATE" + f" KEY-----\n{noise(70)}\n{noise(50)}\n"
    "-----END OPENSSH PRIVATE" + " KEY-----",
}
