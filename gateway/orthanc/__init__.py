"""The door of Orthanc's REST dialect."""
