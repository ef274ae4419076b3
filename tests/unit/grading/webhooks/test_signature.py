"""Signatures, against one that another program made, and against what receivers do."""

import base64
import hashlib
import hmac

from assay.grading.webhooks.signature import fields, new_secret, secret_of, shown, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIME, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
EXPECTED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
"""What `openssl dgst -sha256 -mac HMAC` makes of these."""


def test_a_message_is_signed_as_another_program_does_it() -> None:
    assert sign(secret_of(SECRET), ID, TIME, BODY) == EXPECTED


def test_while_a_secret_is_rotated_both_sign_and_either_is_enough() -> None:
    keys = [new_secret(), new_secret()]
    sent = fields(keys, "msg_1", 7, b"{}")
    assert sent["webhook-id"] == "msg_1"
    assert sent["webhook-timestamp"] == "7"
    made = [
        base64.b64encode(hmac.new(key, b"msg_1.7.{}", hashlib.sha256).digest()).decode()
        for key in keys
    ]
    assert sent["webhook-signature"].split() == [f"v1,{each}" for each in made]


def test_a_secret_is_shown_as_libraries_take_it() -> None:
    secret = new_secret()
    assert secret_of(shown(secret)) == secret
    assert len(secret) == 32
