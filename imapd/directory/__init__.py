"""Who are you: persons, the directories that know them, stored passwords and SASL.

`chain.DirectoryChain` is what the floors above talk to. A kind of directory is one class with the shape of
`interface.Directory`: `ldifdirectory.LdifDirectory` and `ldapdirectory.LdapDirectory`. Nothing in here waits but by the
loop handed in, and nothing but Refused, Unreachable and BadSyntax comes out of a login.
"""
