def test_a(box):
    b = box().up()
    assert b.sh("id -u") == "0\n"
    b.kill("KILL")
    assert b.wait() == "SIGKILL"
    b.delete()
