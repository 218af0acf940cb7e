"""The suite's own modules say what differs, as its tests do."""

import pytest

pytest.register_assert_rewrite("module_runs", "module_images")
