"""Who somebody is, by what others signed: tokens, the keys that verify them, and the issuers who publish those."""
