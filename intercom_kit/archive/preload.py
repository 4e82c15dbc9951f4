"""The last module that the fork server imports: it does once what every worker would do again."""

import atexit
import gc

from intercom_kit.display.charts import Chart, new_axes

_ = Chart(new_axes("Warm")[0], "", "", "").svg  # matplotlib reads its fonts for the first picture of a process
gc.freeze()  # else the first collection in a worker copies all pages that it shares with the server
atexit.register(gc.unfreeze)  # so that the server's own end finds everything it has to release
