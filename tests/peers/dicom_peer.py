"""A DICOM service of pynetdicom: dicom_peer.py PORT MODE.

MODE is ok, title (accepts only the called AE title PACS), abort (aborts instead of an echo) or status (echo status 0x0122).
"""

import sys

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

port, mode = int(sys.argv[1]), sys.argv[2]
ae = AE(ae_title="PACS")
ae.add_supported_context(Verification)
ae.require_called_aet = mode == "title"


def echo(event):
    if mode == "abort":
        event.assoc.abort()
    return 0x0122 if mode == "status" else 0x0000


ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_ECHO, echo)])
