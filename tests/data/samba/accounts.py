"""The people and groups of the test domain, written into its database before the server starts.

The password of all but mallory is `Passw0rd!`. Arguments: smb.conf, sam.ldb.
"""

import sys

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

PASSWORD = "Passw0rd!"
PEOPLE = "OU=people,"
GROUPS = "OU=groups,"
# More than a domain controller gives out at once, by default.
MANY = 1600

lp = LoadParm()
lp.load(sys.argv[1])
db = SamDB(url=sys.argv[2], session_info=system_session(lp), lp=lp)
base = str(db.domain_dn())


def user(name, password=PASSWORD):
    db.newuser(name, password, userou=PEOPLE[:-1], mailaddress=name + "@example.test", useusernameascn=True)


def change(dn, **values):
    message = ldb.Message(ldb.Dn(db, dn))
    for name, value in values.items():
        message[name] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, name)
    db.modify(message)


def person(name):
    return "CN=%s,%s%s" % (name, PEOPLE, base)


def group(name, members=()):
    db.newgroup(name, groupou=GROUPS[:-1])
    if members:
        db.add_remove_group_members(name, list(members))


def password_policy(name, precedence, applies_to, **values):
    """A fine-grained policy; times are in units of 100 ns, negative."""
    dn = "CN=%s,CN=Password Settings Container,CN=System,%s" % (name, base)
    policy = {
        "dn": dn,
        "objectClass": "msDS-PasswordSettings",
        "msDS-PasswordSettingsPrecedence": str(precedence),
        "msDS-PasswordReversibleEncryptionEnabled": "FALSE",
        "msDS-PasswordHistoryLength": "0",
        "msDS-PasswordComplexityEnabled": "FALSE",
        "msDS-MinimumPasswordLength": "4",
        "msDS-MinimumPasswordAge": "0",
        "msDS-MaximumPasswordAge": "-9223372036854775808",
        "msDS-LockoutThreshold": "0",
        "msDS-LockoutObservationWindow": "-18000000000",
        "msDS-LockoutDuration": "-18000000000",
        "msDS-PSOAppliesTo": "CN=%s,%s%s" % (applies_to, GROUPS, base),
    }
    policy.update(values)
    db.add(policy)


def raw_change(name, **values):
    """Past the rules of the directory, which would not let a password be old or a name be taken."""
    raw = ldb.Ldb("tdb://%s.d/%s.ldb" % (sys.argv[2], base.upper()))
    found = raw.search(expression="(sAMAccountName=%s)" % name, scope=ldb.SCOPE_SUBTREE, attrs=["cn"])
    message = ldb.Message(found[0].dn)
    for attribute, value in values.items():
        message[attribute] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, attribute)
    raw.modify(message)


db.create_ou(PEOPLE + base)
db.create_ou(GROUPS + base)
db.transaction_start()

for name in ("alice", "bob", "search", "renamed", "victim", "many"):
    user(name)
user("mallory", "Mallory1!")
for name in ("disabled", "expired", "stale", "mustchange", "locked", "hours", "elsewhere"):
    user(name)
# For tests that change an account while somebody is logged in.
for name in ("to-disable", "to-expire", "to-lock", "to-delete", "to-demote", "to-replace", "to-move", "to-change"):
    user(name)

change(person("alice"), userPrincipalName="alice@ad.example.test")
change(person("disabled"), userAccountControl="514")
change(person("expired"), accountExpires="116444736000000000")  # 1970
change(person("mustchange"), pwdLastSet="0")
change(person("hours"), logonHours=b"\0" * 21)
change(person("elsewhere"), userWorkstations="ONLYPC")
# A name to log in with that is not the name of the account, in a namespace of its own.
change(person("renamed"), userPrincipalName="new.name@example.test")
db.rename(person("renamed"), "CN=Doe\\, Jo \\+ \\\"Q\\\",%s%s" % (PEOPLE, base))

group("inner", ["alice", "to-demote"])
group("outer", ["inner"])
db.add_remove_group_members("inner", ["outer"])  # a loop
group("other", ["bob"])
group("sales-emea", ["alice"])
db.rename("CN=sales-emea,%s%s" % (GROUPS, base), "CN=Sales\\, EMEA (#1),%s%s" % (GROUPS, base))
group("above-everybody", ["Domain Users"])

group("stale-passwords", ["stale"])
password_policy("short", 1, "stale-passwords", **{"msDS-MaximumPasswordAge": "-1728000000000"})  # two days
group("lockable", ["locked", "to-lock"])
password_policy("strict", 2, "lockable", **{"msDS-LockoutThreshold": "2"})

for number in range(MANY):
    db.add({
        "dn": "CN=many-%04d,%s%s" % (number, GROUPS, base),
        "objectClass": "group",
        "sAMAccountName": "many-%04d" % number,
        "member": person("many"),
    })
db.transaction_commit()
del db

raw_change("stale", pwdLastSet="132000000000000000")
# mallory logs in with the name that everybody would take for victim's.
raw_change("victim", userPrincipalName="somebody@example.test")
raw_change("mallory", userPrincipalName="victim@ad.example.test")
