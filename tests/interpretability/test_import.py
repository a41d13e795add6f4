import subprocess
import sys


def test_matplotlib_is_not_imported():
    program = "import sys, cnn_jax.interpretability; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
