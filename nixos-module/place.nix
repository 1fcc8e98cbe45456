# An absolute path without what a shell or systemd would read in their own way.
"/[A-Za-z0-9._/:@+-]*[A-Za-z0-9._:@+-]"
