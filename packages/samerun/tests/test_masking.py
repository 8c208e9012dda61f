"""What a secret is: by its key, by its form, by being known; and what is none."""

from pathlib import Path

import pytest
from fake_secrets import FAKE, noise
from omegaconf import OmegaConf

from samerun import RecordError, flatten, start_run, to_yaml, with_secrets
from samerun.secrets import masking


@pytest.mark.parametrize(
    "key",
    [
        "api_key", "apiKey", "API_KEY", "OPENAI_API_KEY", "api-key", "apikey", "password",
        "dbPassword", "PGPASSWORD", "password2", "passwd", "pwd", "passphrase", "secret",
        "client_secret", "aws_secret_access_key", "token", "hf_token", "HFToken", "auth.token",
        "token_old", "auth", "authorization", "Authorization", "bearer", "cookie", "session_key",
        "sas_token", "dsn", "connection_string", "conn_str", "credentials", "private_key",
        "signing_key", "account_key", "webhook_url", "jwt", "+db.api_key", "a[0].password",
        "api_tokens",
    ],
)  # fmt: skip
def test_the_name_of_a_secret_is_known(key: str) -> None:
    assert masking.is_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "tokenizer", "max_tokens", "num_tokens", "pad_token", "eos_token", "mask_token",
        "cls_token", "token_dim", "pad_token_id", "class_token", "author", "authors", "auth_type",
        "password_file", "api_key_env", "key", "keys", "target_key", "keyboard", "monkey",
        "secretary", "passing",
        "hidden_size", "cookie_count", "input_key", "attention_keys", "model.C", "seed", "sasha",
    ],
)  # fmt: skip
def test_the_name_of_an_ordinary_value_is_not_taken_for_one(key: str) -> None:
    assert not masking.is_secret(key)


@pytest.mark.parametrize("kind", FAKE)
def test_a_token_is_known_by_its_form_whatever_its_key(kind: str) -> None:
    seen = masking.masked({"note": f"use {FAKE[kind]} here"})["note"]
    assert noise(12) not in seen and FAKE[kind][-8:] not in seen
    assert seen.startswith("use ") and seen.endswith(" here") and "***" in seen


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "password: 'hunter2 and more'",
        'password = "two words hunter2"',
        "{'api_key': 'hunter2', 'x': 1}",
        '{"api_key": "hunter2"}',
        "db={user: me, password: hunter2}",
        "dbs=[{user: me, password: hunter2}, {user: you, password: hunter2}]",
        "auth=[me,hunter2]",
        "x={a: {auth: {user: me, word: hunter2}}}",
        "Authorization: Bearer hunter2",
        "curl --token hunter2 there",
        "os.environ['API_KEY'] = 'hunter2'",
        "https://me:hunter2@example.org/x",
        "https://me:p@hunter2@example.org/x",
        "postgresql+psycopg://me:hun/hunter2@example.org/x",
        "https://hunter2@example.org/x.git",
        "fatal: unable to access 'https://me:hunter2@example.org/x.git/': refused",
        "Server=a;Database=b;Password=hunter2;x=y",
        "https://example.org/?access_token=hunter2",
        'unclosed: password="hunter2',
        'password="a\\"hunter2"',
        "password: |\n  first\n  hunter2\n",
        "token => hunter2",
        "token := hunter2",
        "passwort: hunter2",
    ],
)
def test_a_secret_inside_a_text_is_masked(text: str) -> None:
    seen = masking.masked_text(text)
    assert "hunter2" not in seen and "***" in seen
    assert masking.masked_text(seen) == seen


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@example.org/x.git",
        "git@example.org:me/x.git",
        "http://127.0.0.1:8080/a@b",
        "https://example.org/a?b=c",
        "token: None",
        "tokenizer=bert max_tokens=512 pad_token=<pad>",
        "class sk-estimator-doc-link-2 sk-text-repr-fallback",
        "seed=0 model.C=0.1 data=three",
        "",
    ],
)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert masking.masked_text(text) == text


@pytest.mark.parametrize("value", [None, True, False, "", "???"])
def test_what_is_no_value_is_no_secret(value: object) -> None:
    assert masking.masked({"api_key": value}) == {"api_key": value}


def test_bytes_sets_and_paths_are_looked_into() -> None:
    seen = str(masking.masked({"a": b"password=hunter2", "b": {"password=hunter2"}, 3: ("x",)}))
    assert "hunter2" not in seen and "3: ['x']" in seen


def config(**values: object) -> object:
    return OmegaConf.create({"seed": 0, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"api_key": "hunter2"},
        {"a": [{"b": {"password": "hunter2"}}]},
        {"store": {"password": "hunter2"}, "copied": "${store.password}"},
        {"store": {"password": "hunter2"}, "copied": "me:${store.password}@there"},
        {"login": "${oc.env:MY_PASSWORD}"},
        {"login": "${oc.env:MY_PASSWORD,other}"},
        {"outer": "${login}", "login": "${oc.env:MY_PASSWORD}"},
        {"auth": {"user": "me", "word": "hunter2"}},
        {"uri": "mysql://me:hunter2@there/x"},
        {"command": ["curl", "--token", "hunter2"]},
        {"text": "a: 1\npassword: hunter2\n"},
        {"private_key": "first\nhunter2\nlast"},
    ],
)
def test_neither_parameters_nor_yaml_hold_a_secret(
    values: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    cfg = config(**values)
    assert "hunter2" not in str(flatten(cfg)) and "***" in str(flatten(cfg))
    assert "hunter2" not in to_yaml(cfg) and "***" in to_yaml(cfg)


def test_a_plain_dictionary_is_masked_like_a_configuration() -> None:
    assert flatten({"a": {"api_key": "x", "C": 1}}) == {"a.api_key": "***", "a.C": 1}
    assert "api_key: '***'" in to_yaml({"a": {"api_key": "x"}})


def test_a_secret_is_known_wherever_else_it_turns_up() -> None:
    flatten(config(store={"password": "hunter2"}))
    assert masking.masked_text("cannot log in with hunter2!") == "cannot log in with ***!"
    assert masking.masked_text("schunter2x") == "schunter2x"


def test_a_plain_word_as_secret_does_not_spoil_other_texts() -> None:
    assert flatten(config(password="linear", model="linear")) == {
        "seed": 0, "password": "***", "model": "linear",
    }  # fmt: skip


def test_a_secret_of_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "q7w8-e9r0")
    assert masking.masked_text("refused: q7w8-e9r0") == "refused: ***"


def test_what_the_environment_says_besides_secrets_is_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_MODEL", "q7w8-e9r0")  # no secret by its name
    monkeypatch.setenv("SOME_API_KEY", str(tmp_path))  # the path of a file that holds one
    monkeypatch.setenv("OTHER_API_KEY", "linear")  # a word that stands in many texts
    text = f"q7w8-e9r0 of {tmp_path}, linear"
    assert masking.masked_text(text) == text


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["--token", "abc", "seed=1"], ("--token", "***", "seed=1")),
        (["--token=abc", "seed=1"], ("--token=***", "seed=1")),
        (["store.password=abc", "abc"], ("store.password=***", "abc")),
        (["--seed", "abc"], ("--seed", "abc")),
    ],
)
def test_the_value_of_an_option_is_masked_wherever_it_stands(
    words: list[str], masked: tuple[str, ...]
) -> None:
    assert masking.masked_arguments(words) == masked


def test_a_configuration_without_secrets_comes_back_from_its_yaml_as_it_was() -> None:
    cfg = config(lr=1e-5, text="1e-3", on=True, none=None, k={1: "a"}, l=[1, "x", {"y": 2.0}])
    assert OmegaConf.create(to_yaml(cfg)) == cfg


def test_yaml_holds_values_in_place_of_references() -> None:
    assert "again: 0" in to_yaml(config(again="${seed}"))


# Going on with a recorded configuration


def recorded() -> object:
    return OmegaConf.create(to_yaml(config(model={"C": 1}, store={"password": "hunter2"})))


def test_a_mask_is_never_gone_on_with_in_silence() -> None:
    with pytest.raises(
        RecordError, match=r"in place of store\.password.*\+\+store\.password=\.\.\."
    ):
        with_secrets(recorded(), config())


def test_a_secret_is_taken_from_the_present_configuration() -> None:
    whole = with_secrets(recorded(), config(store={"password": "hunter3"}))
    assert whole == config(model={"C": 1}, store={"password": "hunter3"})


def test_stars_in_a_text_of_ones_own_are_no_mask() -> None:
    cfg = config(note="three stars: ***")
    assert with_secrets(OmegaConf.create(to_yaml(cfg)), cfg) == cfg


@pytest.mark.parametrize("cfg", [{"db": {"password": "***"}}, config(api_key="***")])
def test_a_command_copied_from_a_record_with_its_mask_is_refused(cfg: object) -> None:
    refused = pytest.raises(RecordError, match=r"(db\.password|api_key) is \*\*\*")
    with refused, start_run(cfg, None, experiment="x"):
        pass


def test_a_mask_where_nothing_is_needed_is_no_fault() -> None:
    assert with_secrets(recorded(), config(), needed=["model"]).model.C == 1
    with pytest.raises(RecordError):
        with_secrets(recorded(), config(), needed=["model", "store"])


def test_the_command_that_repeats_a_run_names_a_secret_variable_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from samerun.command.repeat import repeating

    monkeypatch.setenv("MY_PASSWORD", "swordfish")
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "train.py"), "+api_key=hunter2"])
    shown = str(repeating(config(login="${oc.env:MY_PASSWORD}"), tmp_path))
    assert "swordfish" not in shown and "hunter2" not in shown and "MY_PASSWORD" in shown
