"""How each tool is run: functions of a case and a recorder, one module a peer."""
