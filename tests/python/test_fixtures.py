"""What stands in fixtures/ is what its script makes."""
import subprocess
import sys

from conftest import ROOT


def test_the_fixtures_are_what_their_script_makes():
    done = subprocess.run([sys.executable, ROOT / "fixtures" / "make.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
