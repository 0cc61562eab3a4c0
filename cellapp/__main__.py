import sys

from cellapp.cli import main

sys.exit(main())
