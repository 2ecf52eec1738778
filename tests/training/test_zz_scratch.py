def test_x(trained):
    for p in trained.rglob("*"):
        if p.is_file() and b"/tmp" in p.read_bytes(): print("HAS", p)
    print((trained/"log.jsonl").read_text()[-800:])
    import time; 
def test_time(tiny_config,tmp_path):
    import time,cProfile,pstats; from detente_training.train import train
    t=time.process_time(); pr=cProfile.Profile(); pr.enable(); train(tiny_config(),tmp_path/"a"); pr.disable(); print("2 epochs",time.process_time()-t)
    pstats.Stats(pr).sort_stats("cumulative").print_stats(45)
