"""Templates of the values that one task hands to the next."""


def xcom_field(task_id: str, field: str) -> str:
    """Return the template of one field of the dictionary that a task returned.

    It renders to an empty text when the task left none, as when somebody marked it success by hand; the
    operators refuse an empty value with a sentence, where a failing template would end in a traceback.

    :param task_id: the task whose result is read
    :param field: name in the dictionary
    """
    return f"{{{{ (ti.xcom_pull(task_ids={task_id!r}) or {{}}).get({field!r}, '') }}}}"
