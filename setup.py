"""How imapd is built and installed; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = {}
exec((HERE / "imapd" / "__init__.py").read_text(encoding="utf-8"), VERSION)

setup(
    name="imapd",
    version=VERSION["__version__"],
    description="An IMAP server for mail files, with people from LDAP directories",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["imapd", "imapd.*"]),
    package_data={"imapd": ["py.typed"]},
    data_files=[
        ("share/man/man8", ["man/imapd.8"]),
        ("share/man/man5", ["man/imapd.ini.5"]),
        ("share/imapd", ["conf/imapd.ini", "conf/people.ldif"]),
    ],
    python_requires=">=3.11",
    install_requires=[
        "gevent>=24.2,<27",  # one greenlet a connection: the whole of server/
        "pyOpenSSL>=24.1,<27",  # TLS on the file descriptor; the standard ssl module has no channel binding for TLS 1.3
        "cryptography>=42,<50",  # pyOpenSSL's ground; makes the self-signed certificate of `imapd demo`
        "PyJWT>=2.10,<3",  # tokens of OAUTHBEARER and XOAUTH2
        "configobj>=5.0.8,<6",  # the ini dialect of the configuration: nested sections, lists, quotes
        "inotify_simple>=1.3.5,<3",  # mail delivered by other programs is noticed within milliseconds
        "ldap3==2.9.1",  # LDAP directories; the last release, kept in directory/ldapwire.py
        "pyasn1>=0.5,<0.7",  # ldap3's ground
        "dnspython>=2.6,<3",  # directories whose servers DNS names: ldap+srv://
        "argon2-cffi>=23.1,<26",  # {ARGON2} passwords
        "bcrypt>=4,<6",  # {CRYPT}$2b$ passwords
        "crypt-r>=3.13.1,<4",  # {CRYPT} passwords of the system's libcrypt; the standard module is gone since 3.13
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",  # a test that hangs fails with a traceback instead of stopping the run
            "hypothesis>=6.100,<7",  # property tests of everything that reads bytes from strangers
            "IMAPClient>=3,<5",  # one of the real clients of tests/clients
            "fusepy>=3.0.1,<4",  # the disk of the power-cut trials, which writes down what is written to it
            "scramp>=1.4.5,<2",  # an independent SCRAM implementation to check our verifiers with
        ],
        "check": ["ruff>=0.6,<1", "mypy>=1.11,<3"],
    },
    entry_points={"console_scripts": ["imapd = imapd.cli:main"]},
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Email :: Post-Office :: IMAP",
    ],
)
