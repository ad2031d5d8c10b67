"""Where settings become values, and a directory's words become a path."""

from types import SimpleNamespace

import pytest

from imapd.model.errors import Refused
from imapd.server.house import home_below, special_use


@pytest.mark.parametrize("evil", [None, "", "/etc", "../bob", "a/../../b", "a/./b", "a//b", "a\0b", "a\nb", ".", ".."])
def test_a_mail_file_never_leads_out_of_the_root(evil):
    with pytest.raises(Refused) as refused:
        home_below("/srv/mail", evil)
    assert "srv" not in refused.value.text


def test_a_mail_file_lies_below_the_root():
    assert home_below("/srv/mail", "sales/anna") == "/srv/mail/sales/anna"


def test_special_uses_are_named_after_themselves():
    settings = SimpleNamespace(mail=SimpleNamespace(special_use=("drafts", "junk")))
    assert special_use(settings) == (("\\Drafts", "Drafts"), ("\\Junk", "Junk"))
